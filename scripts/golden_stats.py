#!/usr/bin/env python3
"""The statistics of slender-stats a second time, by scipy and statsmodels, as a golden file.

    python3 -m venv .venv && .venv/bin/pip install scipy statsmodels
    .venv/bin/python scripts/golden_stats.py > crates/slender-stats/tests/golden.json

Each entry holds the inputs and what the other implementation makes of them: Student's t (scipy),
Holm's correction and McNemar's test (statsmodels), mean squares of one-way, block and crossed designs
(statsmodels' least squares and analysis of variance), the paired t test (scipy), Page's test (scipy),
Jonckheere's test (scipy's Kendall test for one value a level; every permutation, counted, for more).
Last written with scipy 1.17.1 and statsmodels 0.15.0.
"""

import itertools
import json
import sys

import numpy
import pandas
import scipy.stats
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

random = numpy.random.default_rng(2402)


def rounded(values):
    return numpy.round(values, 4).tolist()


def student():
    for df in [1, 2, 3.7, 6, 11.25, 40, 1000]:
        for t in [0.1, 1.0, 2.5, 7.0]:
            yield {"df": df, "t": t, "p": 2 * scipy.stats.t.sf(t, df), "q975": scipy.stats.t.ppf(0.975, df)}


def holm():
    for n in [1, 3, 8, 30]:
        p = random.uniform(0, 0.2, n)
        yield {"p": p.tolist(), "corrected": multipletests(p, method="holm")[1].tolist()}


def exact_mcnemar():
    for a, b in [(2, 8), (0, 5), (17, 9), (40, 61), (130, 171)]:
        p = mcnemar([[10, a], [b, 10]], exact=True).pvalue
        yield {"a": a, "b": b, "p": float(min(1.0, p))}


def mean_square(table, row):
    return float(table["sum_sq"][row] / table["df"][row])


def noise():
    """Variants by seeds: residual mean squares of one-way and block designs, and the t tests of two."""
    for variants, seeds in [(2, 3), (4, 3), (5, 2), (9, 5)]:
        y = rounded(random.normal(0, 1, (variants, seeds)) + random.normal(0, 2, seeds))
        rows = [{"v": v, "s": s, "y": y[v][s]} for v in range(variants) for s in range(seeds)]
        frame = pandas.DataFrame(rows)
        within = anova_lm(smf.ols("y ~ C(v)", frame).fit())
        block = anova_lm(smf.ols("y ~ C(v) + C(s)", frame).fit())
        entry = {
            "y": y,
            "sd_within": mean_square(within, "Residual") ** 0.5,
            "df_within": float(within["df"]["Residual"]),
            "sd": mean_square(block, "Residual") ** 0.5,
            "df": float(block["df"]["Residual"]),
        }
        if variants == 2:
            entry["p_paired"] = float(scipy.stats.ttest_rel(y[1], y[0]).pvalue)
        yield entry


def crossed():
    """Seeds by examples in one or several tasks: the variance of the mean from the mean squares."""
    for seeds, sizes in [(2, [12]), (3, [40]), (3, [10, 25, 17]), (5, [30, 60])]:
        strata, terms, of_seed = [], [], numpy.zeros(seeds)
        for size in sizes:
            y = rounded(
                random.normal(0, 0.3, (seeds, 1)) + random.normal(0, 1, size) + random.normal(0, 1, (seeds, size))
            )
            strata.append(y)
            rows = [{"s": s, "e": e, "y": y[s][e]} for s in range(seeds) for e in range(size)]
            table = anova_lm(smf.ols("y ~ C(s) + C(e)", pandas.DataFrame(rows)).fit())
            weight = 1 / (len(sizes) ** 2 * seeds * size)
            own, rest = weight * mean_square(table, "C(e)"), weight * mean_square(table, "Residual")
            if own > rest:
                terms += [(own, size - 1), (-rest, (seeds - 1) * (size - 1))]
            of_seed += numpy.mean(y, axis=1) / len(sizes)
        terms.append((numpy.var(of_seed, ddof=1) / seeds, seeds - 1))
        variance = sum(term for term, _ in terms)
        df = variance**2 / sum(term**2 / df for term, df in terms)
        mean = float(of_seed.mean())
        low, high = scipy.stats.t.interval(0.95, df, mean, variance**0.5)
        yield {"strata": strata, "mean": mean, "stderr": variance**0.5, "df": df, "low": low, "high": high}


def page():
    for seeds, levels in [(3, 3), (2, 5), (4, 6), (3, 8)]:
        y = rounded(random.normal(0, 1, (seeds, levels)) + 0.4 * numpy.arange(levels))
        rise = scipy.stats.page_trend_test(y, method="exact")
        fall = scipy.stats.page_trend_test(numpy.flip(y, axis=1), method="exact")
        p = min(1.0, 2 * min(rise.pvalue, fall.pvalue))
        yield {"blocks": y, "statistic": float(rise.statistic), "p": float(p)}


def in_order(groups):
    return sum(x < y for a, b in itertools.combinations(groups, 2) for x in a for y in b)


def split(values, sizes):
    ends = numpy.cumsum([0] + sizes)
    return [values[a:b] for a, b in zip(ends, ends[1:])]


def jonckheere():
    for levels in [4, 7, 9]:
        y = rounded(random.normal(0, 1, levels) + 0.5 * numpy.arange(levels))
        test = scipy.stats.kendalltau(range(levels), y, method="exact")
        yield {"groups": [[x] for x in y], "strength": float(test.statistic), "p": float(test.pvalue)}
    for sizes in [[2, 2, 2], [3, 2, 3], [1, 4, 2]]:
        y = rounded(random.normal(0, 1, sum(sizes)) + 0.3 * numpy.arange(sum(sizes)))
        seen = in_order(split(y, sizes))
        counts = [in_order(split(order, sizes)) for order in itertools.permutations(y)]
        above, below = numpy.mean([c >= seen for c in counts]), numpy.mean([c <= seen for c in counts])
        most = in_order(split(sorted(y), sizes))
        yield {
            "groups": split(y, sizes),
            "strength": 2 * seen / most - 1,
            "p": float(min(1.0, 2 * min(above, below))),
        }


makers = [student, holm, exact_mcnemar, noise, crossed, page, jonckheere]
json.dump({maker.__name__: list(maker()) for maker in makers}, sys.stdout, indent=1)
print()
