"""Files like those of /proc and /sys, as a test says."""


def lay(root, files):
    """Write files below a folder that stands for /."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
