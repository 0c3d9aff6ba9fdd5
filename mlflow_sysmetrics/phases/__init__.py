"""The parts of a program's time: what each cost (`totals`), the `course` of the process, and the `figure` of both."""
