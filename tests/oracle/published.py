"""Measures tests/golden/hf_published.json again: config.json files of published models in the forms that people have them.

    python tests/oracle/published.py [output.json]

Needs transformers 5.24 and torch 2.13 CPU, no network. The configs stand in the file itself, with keys that the classes do
not read (quantization, training, other tools); beside each the class that was built on torch.device("meta"), its parameters
(tied ones once, buffers excluded) and how many tensors they are. T5-family configs with tie_word_embeddings false count
lm_head.weight, as their checkpoints have it.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

transformers.logging.set_verbosity_error()
HERE = pathlib.Path(__file__).resolve()
GOLDEN = HERE.parents[1] / "golden" / "hf_published.json"
# names of classes in config.json files from before the class came into transformers
NOW = {
    "ExaoneMoEForCausalLM": "ExaoneMoeForCausalLM",
    "LLaMAForCausalLM": "LlamaForCausalLM",
    "MPTForCausalLM": "MptForCausalLM",
    "PhiMoEForCausalLM": "PhimoeForCausalLM",
    "T5WithLMHeadModel": "T5ForConditionalGeneration",
}
BARE = {"deberta-v2": "DebertaV2ForMaskedLM", "gemma3_text": "Gemma3ForCausalLM", "bert": "BertForMaskedLM"}


def measure(config):
    config = {k: v for k, v in json.loads(json.dumps(config)).items() if k not in ("quantization_config", "auto_map")}
    model_type = "deepseek_v3" if config["model_type"] == "kimi_k2" else config["model_type"]
    arch = (config.get("architectures") or [BARE.get(model_type)])[0]
    cls = getattr(transformers, NOW.get(arch, arch))
    cfg = CONFIG_MAPPING[model_type].from_dict({**config, "model_type": model_type})
    with torch.device("meta"):
        sizes = [p.numel() for p in cls._from_config(cfg).parameters()]
    untied = model_type in ("t5", "mt5", "umt5") and config.get("tie_word_embeddings") is False
    if untied and cls.__name__.endswith("ForConditionalGeneration"):
        sizes.append(cfg.vocab_size * cfg.d_model)
    return {"class": cls.__name__, "total": sum(sizes), "tensors": len(sizes)}


def main():
    lines = []
    for row in json.loads(GOLDEN.read_text())["models"]:
        row = {"name": row["name"], "config": row["config"], **measure(row["config"])}
        lines.append(json.dumps(row, separators=(",", ":"), ensure_ascii=False))
    versions = json.dumps({"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__})
    text = '{"versions":' + versions + ',\n"models":[\n' + ",\n".join(lines) + "\n]}\n"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    out.write_text(text)
    print(f"{out.name}: {len(lines)} models, {len(text)} bytes")


if __name__ == "__main__":
    main()
