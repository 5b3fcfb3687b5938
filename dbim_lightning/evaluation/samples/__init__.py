"""Where samples come from: a bridge, or the files of another program."""
