"""From finished studies to findings, figures and words.

`selection` chooses the studies, `studies` reads them: trials, parameters, last figures, `folds.json`, `noise.json`. The
points of their curves are read by `training/curves` and `savings/courses`, the size of their tables by `savings/rules`
and `comparison/levels`. `report_kind` says what they answer together, `writing` and `markdown` write; `findings` and
`words` say what was found, `number_levels` what numbers are called.
"""
