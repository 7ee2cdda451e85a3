"""Builds the wheel with an index of the presets and devices beside their files (transformer_calc/sources/index.py)."""

import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Index(BuildHookInterface):  # type: ignore[type-arg]
    """One for each folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make them, but for an editable installation, whose files may change."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from transformer_calc.sources import catalogue, index

        self.made = Path(mkdtemp())
        for folder in ("models", "hardware"):
            paths = sorted(Path(self.root, "presets", folder).glob("*.toml"))
            file = self.made / f"{folder}.jsonl"
            file.write_text(index.lines((path, catalogue.read(path)) for path in paths), encoding="utf-8")
            build_data["force_include"][str(file)] = f"transformer_calc/presets/{folder}/{index.INDEX}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Forget the files that the wheel holds now."""
        import shutil

        shutil.rmtree(getattr(self, "made", ""), ignore_errors=True)
