"""What several tools share; nothing in this folder is started by itself."""
