"""Write tests/golden/hf_classes.json: of each family, the classes of transformers whose configuration is its own."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import transformers
from transformers import PreTrainedModel
from transformers.models.auto import configuration_auto

from transformer_calc.sources import families

CODE_OF = {"kimi_k2": "deepseek_v3"}  # published with the code of another family
GOLDEN = Path(__file__).parent.parent / "golden" / "hf_classes.json"


def classes_of(model_type: str) -> list[str]:
    """The classes that are built from a model_type's configuration."""
    kind = CODE_OF.get(model_type, model_type)
    config = getattr(transformers, configuration_auto.CONFIG_MAPPING_NAMES[kind])
    module = importlib.import_module(config.__module__.replace("configuration_", "modeling_"))
    return sorted(
        name
        for name, found in vars(module).items()
        if inspect.isclass(found)
        and "pretrained" not in name.lower()  # bases of classes
        and issubclass(found, PreTrainedModel)
        and found.__module__ == module.__name__
        and getattr(found, "config_class", None) is config
    )


def main() -> None:
    """Write the file."""
    found = {model_type: classes_of(model_type) for model_type in families.known()}
    record = {"made_by": f"tests/oracle/class_names.py, transformers {transformers.__version__}", "classes": found}
    GOLDEN.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
