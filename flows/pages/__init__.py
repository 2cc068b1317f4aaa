"""The HTML pages for people: the frame, the pictures, the palette and one template per page."""
