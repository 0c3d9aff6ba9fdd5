"""Golden files, which hold what the product says as a person reads it; UPDATE_GOLDEN=1 writes them again."""

import os


def check_golden(file, text):
    """Compare what is said with what a file holds."""
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def check_answers(file, answer):
    """Compare the answer to each line of a file that begins with `$ ` with what follows it there."""
    said = []
    for line in file.read_text().splitlines():
        if line.startswith("$ "):
            said += [line, answer(line.removeprefix("$ ")), ""]
    check_golden(file, "\n".join(said))
