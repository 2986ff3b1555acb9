"""What a release holds, as a table and as markdown, for artifacts and the command line."""

from typing import Any

from features.evaluate.gate import Check, verdict
from features.memory_limit import in_words
from features.release.manifest import Manifest

LABELS = {
    "user_profile": "user profiles",
    "track_embedding": "track embeddings",
    "similarity": "similar users",
    "recommendations": "recommendation lists",
}


def contents_table(manifest: Manifest) -> list[dict[str, Any]]:
    """One row an output: what, how many documents, in which collection."""
    return [
        {
            "output": label,
            "documents": manifest.counts[name],
            "collection": "recommendations" if name == "recommendations" else "feature_store",
        }
        for name, label in LABELS.items()
    ]


def inputs_table(manifest: Manifest) -> list[dict[str, Any]]:
    """One row an input: read = used + set aside, and of the used how many lie after the as-of moment."""
    return [
        {
            "input": name,
            "read": table["read"],
            "used": table["used"],
            "set aside": table["set_aside"],
            "after as-of": table.get("later", 0),
            "reasons": "; ".join(f"{count:,} {reason}" for reason, count in list(table["reasons"].items())[:5]),
        }
        for name, table in manifest.inputs.items()
    ]


def stages_table(manifest: Manifest) -> list[dict[str, Any]]:
    """One row a stage of the build: its time, and the most memory that was held meanwhile."""
    return [
        {
            "stage": name,
            "seconds": float(seconds),
            "peak memory": in_words(manifest.peak_memory[name]) if name in manifest.peak_memory else "",
        }
        for name, seconds in manifest.timings.items()
    ]


def summary_markdown(manifest: Manifest) -> str:
    """A page for a person: inputs, outputs, checks, times."""
    checks = [Check(**check) for check in manifest.checks]
    lines = [
        f"# Release {manifest.id}",
        "",
        f"As of {manifest.as_of:%Y-%m-%d %H:%M} UTC, built {manifest.built_at:%Y-%m-%d %H:%M} UTC.",
        f"Code {manifest.code}, snapshot {manifest.snapshot[:12]}.",
        "{users:,} users, {tracks:,} tracks, {plays:,} plays.".format(**manifest.counts),
        "",
        *_markdown_table(inputs_table(manifest)),
        "",
        *_markdown_table(contents_table(manifest)),
        "",
        f"Gate: {verdict(checks)}.",
        "",
        *_markdown_table([check.to_dict() for check in checks]),
        "",
        *_markdown_table(stages_table(manifest)),
    ]
    return "\n".join(lines) + "\n"


def _markdown_table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    names = list(rows[0])
    body = ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names), *body]


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", "\\|")
