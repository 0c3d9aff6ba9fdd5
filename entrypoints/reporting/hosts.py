"""The machines that studies ran on: costs of two are compared only after saying so, and never pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrypoints.reporting.studies import Study
from mlflow_sysmetrics.host import SYSTEM_FACTS

PROCESSOR = "cpu_model"


def differing(studies: Sequence[Study]) -> list[str]:
    """The facts of which there is more than one value, over all studies and their trials."""
    facts = dict.fromkeys(fact for study in studies for fact in study.hosts)
    values = {fact: [study.hosts.get(fact, ()) for study in studies] for fact in facts}
    return [fact for fact, each in values.items() if len(set(each)) > 1 or len(each[0]) > 1]


def at_once(study: Study) -> str | None:
    """How many trials of a study ran at once; None where that is unknown, as on a cluster."""
    params, usable = study.run.data.params, study.hosts.get("usable_cores", ())
    if params.get("ray_address", "local") != "local":
        return None
    cpus = params.get("cpus")
    return cpus if cpus != "all" else usable[0] if len(usable) == 1 else None


def kind(facts: Sequence[str]) -> str:
    """What differs where these facts do: hosts, or their systems alone."""
    return "systems" if SYSTEM_FACTS.issuperset(facts) else "hosts"


def called(study: Study, facts: Sequence[str]) -> str:
    """A study's machine by these facts: the processor by its name alone, what is not known as `unknown`."""
    values = {fact: " or ".join(study.hosts.get(fact, ())) or "unknown" for fact in facts}
    return ", ".join(value if fact == PROCESSOR else f"{fact} {value}" for fact, value in values.items())


def of_several(study: Study) -> str:
    """A sentence if the trials of a study ran on different machines; empty if not."""
    facts = differing([study])
    if not facts:
        return ""
    which = kind(facts)
    return (
        f"Its trials ran on {which} that differ ({called(study, facts)}): what a trial costs also depends on its "
        f"{which.removesuffix('s')}."
    )


def compared(studies: Mapping[str, Study]) -> str:
    """A sentence if studies ran on different machines; empty if not.

    Args:
        studies: by what the page calls them.
    """
    facts = differing(list(studies.values()))
    if not facts:
        return ""
    ran = [f"{name} ran on {called(study, facts)}" for name, study in studies.items()]
    return f"{kind(facts).capitalize()} differ: {'; '.join(ran)}: their costs are compared, never pooled."


def of_savings(full: Study, limited: Sequence[Study]) -> list[str]:
    """A sentence for each study under limits that ran on another machine than the full one."""
    return [
        f"What `{study.criteria}` saves on one {kind(facts).removesuffix('s')}: {study.name} ran on "
        f"{called(study, facts)}, the full study on {called(full, facts)}, so the CPU and wall time that it saved "
        f"compare two {kind(facts)}."
        for study in limited
        if (facts := differing([full, study]))
    ]
