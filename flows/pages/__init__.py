"""Pages of HTML for people: the frame, the pictures, the palette and a template per page."""
