"""One module a question: each takes a frame of studies and returns an answer. ``ALL`` says which, in a page's order."""
