"""Other people's files and gatewise's own: read without any trust, and written."""
