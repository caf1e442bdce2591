"""Files with other files in them: zip and tar archives."""
