"""A published example of rank tests over datasets."""

import pandas as pd

# Demsar, JMLR 7 (2006), table 6: the AUC of four variants of C4.5 on 14 datasets. In the row "voting" two are printed
# as 0.975 but ranked 2 and 3, so that one of them has a digit more here.
DEMSAR: pd.DataFrame = pd.DataFrame(
    [
        (0.763, 0.768, 0.771, 0.798),
        (0.599, 0.591, 0.590, 0.569),
        (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657),
        (0.882, 0.888, 0.886, 0.898),
        (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685),
        (0.583, 0.583, 0.563, 0.625),
        (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000),
        (0.940, 0.962, 0.965, 0.962),
        (0.619, 0.666, 0.614, 0.669),
        (0.972, 0.981, 0.9751, 0.975),
        (0.957, 0.978, 0.946, 0.970),
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)
TIES = 1 - (60 + 6 + 6 + 6) / (14 * 60)  # of each row that has them, t^3 - t summed; scipy divides by this
