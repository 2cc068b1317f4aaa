"""Does this installation compute correctly? Known answers, compared on a device."""
