"""From a frame of studies to answers, and from these to a page.

`questions` holds one module a question, over `drawing` and `words`; the end of a study asks some of them, too.
`selection` chooses the studies of a report, `pages` fills its template and leaves everything in its run.
"""
