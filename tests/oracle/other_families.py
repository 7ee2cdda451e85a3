"""Write the model types of transformers that tcalc has no family for: sources/families/others.py."""

from __future__ import annotations

import textwrap
from pathlib import Path

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from transformer_calc.sources import families, huggingface

# Model types whose code came with their checkpoints (trust_remote_code), as their published config.json files have them.
WITH_CHECKPOINTS = """
    qwen qwen_vl baichuan internlm internlm2 internlm_xcomposer2 chatglm new gte minicpm minicpm3 minicpmv xverse orion
    skywork Yi aquila deci nemotron-nas openelm phi3small phi3_v deepseek deepseek_vl_v2 deepseek_mtp hunyuan step3
    bailing_moe bailing_moe_v2 arctic telechat grok-1 grok cogvlm cogagent btlm jais codeshell decilm gpt_refact
    mimo mimo_v2 plamo plamo3 solar internlm3 kwaipilot sdar llada dream ultravox molmo kormo ouro minimax_text_01 hunyuan_v1
    eagle eagle3 medusa mlp_speculator mimo_mtp longcat_flash_mtp nemotron5 smallthinker pangu pangu_ultra_moe ring
""".split()

HEAD = '''"""Model types of other architectures: known by name, so that none is taken for a misspelling of a family.

Written by tests/oracle/other_families.py.
"""

from __future__ import annotations
'''


def main() -> None:
    """Write the module."""
    ours = {*families.known(), *families.WRAPPERS, *families.FORMER, *huggingface.LATER.split()}
    text = HEAD
    for name, of, types in (
        ("TRANSFORMERS", f"of transformers {transformers.__version__}", set(CONFIG_MAPPING_NAMES) - ours),
        (
            "WITH_CHECKPOINTS",
            "of code that comes with checkpoints",
            {*WITH_CHECKPOINTS} - ours - {*CONFIG_MAPPING_NAMES},
        ),
    ):
        lines = textwrap.fill(" ".join(sorted(types)), 116, break_long_words=False, break_on_hyphens=False)
        text += f'\n# {of}\n{name} = """\n{textwrap.indent(lines, "    ")}\n"""\n'
    path = Path(families.__file__).parent / "others.py"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
