"""The configuration model: it validates YAML files, defines the form, and feeds every stage.

Each field declares which stages it can change (`effects`), so a stage's fingerprint depends on
nothing else. Unknown keys are rejected everywhere; values are frozen after validation.
"""

from bids_core.config.choices import Normalization, SelectionMethod, SelectionMethods
from bids_core.config.data import DataConfig, ReadLimits, SourceConfig, TestTask, ValidationTask
from bids_core.config.evaluation import EvaluationConfig, GenerationConfig
from bids_core.config.execution import ExecutionConfig, OutputConfig, StageTimeouts
from bids_core.config.gradients import GradientConfig
from bids_core.config.load import load_config
from bids_core.config.model import LoraConfig, ModelConfig
from bids_core.config.run import RunConfig
from bids_core.config.section import Budget, Section, Seed
from bids_core.config.selection import AnalysisConfig, SelectionConfig
from bids_core.config.training import FinetuneConfig, OptimizerConfig, WarmupConfig
from bids_core.config.yaml_text import YamlError, parse_yaml, read_yaml_text

__all__ = [
    "AnalysisConfig",
    "Budget",
    "DataConfig",
    "EvaluationConfig",
    "ExecutionConfig",
    "FinetuneConfig",
    "GenerationConfig",
    "GradientConfig",
    "LoraConfig",
    "ModelConfig",
    "Normalization",
    "OptimizerConfig",
    "OutputConfig",
    "ReadLimits",
    "RunConfig",
    "Section",
    "Seed",
    "SelectionConfig",
    "SelectionMethod",
    "SelectionMethods",
    "SourceConfig",
    "StageTimeouts",
    "TestTask",
    "ValidationTask",
    "WarmupConfig",
    "YamlError",
    "load_config",
    "parse_yaml",
    "read_yaml_text",
]
