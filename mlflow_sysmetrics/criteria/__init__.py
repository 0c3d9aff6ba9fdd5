"""Limits: their grammar, and what they mean for a trial."""

from mlflow_sysmetrics.criteria.grammar import CriteriaError
from mlflow_sysmetrics.criteria.judge import Criteria

__all__ = ["Criteria", "CriteriaError"]
