"""What a check has found, to be read: worst first, and a verdict last."""

from typing import Any

from blurtrain.data.checking.check import JUDGE, Check


def as_text(check: Check) -> str:
    """Some lines."""
    if check.source is None:
        return f"{check.where}: DAMAGED: {check.findings[0].text}\n  verdict: damaged, not to be used"
    state = "intact" if check.kind == "dataset" else "read"
    lines = [f"{check.where}: {state} ({check.count} images)"]
    lines += [f"  WRONG  {one.text}" for one in check.wrong]
    lines += [f"  note   {one.text}" for one in check.notes]
    lines += [f"  {line}" for line in _table(check)]
    kinds = ", ".join(dict.fromkeys(one.kind for one in check.wrong))
    verdict = f"results would be invalid ({kinds})" if kinds else "nothing found that makes results invalid"
    return "\n".join([*lines, f"  verdict: {verdict}"])


def _table(check: Check) -> list[str]:
    head = ("split", "images", "classes", "images a class", "smaller side of source", f"{JUDGE} (less is sharper)")
    rows = [head]
    for split, sharp in check.figures["sharpness"].items():
        classes = check.figures.get("classes", {}).get(split)
        sizes = check.figures["source_smaller_sides"][split]
        images = classes["images"] if classes else check.count
        each = f"{classes['smallest']['images']} - {classes['largest']['images']}" if classes else "-"
        rows.append(
            (
                split,
                str(images),
                str(classes["classes"]) if classes else "-",
                each,
                f"{sizes['median']:g} ({sizes['smallest']} - {sizes['largest']})" if sizes["looked_at"] else "-",
                _quartiles(sharp.get(JUDGE), sharp["images"]),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _quartiles(of: dict[str, Any] | None, count: int) -> str:
    if not of or of["median"] is None:
        return "-"
    return f"{of['median']:.3f} ({of['q1']:.3f} - {of['q3']:.3f}), n {count}"
