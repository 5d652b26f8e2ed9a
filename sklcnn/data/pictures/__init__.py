"""Pictures: X as a column of images, and the store that decodes them by the batch."""
