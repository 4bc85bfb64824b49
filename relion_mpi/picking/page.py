"""One page to look through the picks, with the threshold as a slider; needs no network."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relion_mpi.picking.worker import Picks

N_BIN = 60


@dataclass(frozen=True, slots=True)
class Shown:
    """A micrograph on the page."""

    name: str
    shape: tuple[int, int]
    picks: Picks


def write_page(
    path: Path, title: str, shown: Sequence[Shown], radius_pix: float, threshold: float
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path
        HTML file to replace.
    title
        Heading.
    shown
        Micrographs with pictures, in order.
    radius_pix
        Of the circles, pixels of the micrographs.
    threshold
        Lowest figure of merit there is.
    """
    figures = np.concatenate([one.picks.merit for one in shown] or [np.empty(0)])
    top = float(figures.max()) if figures.size else threshold + 1.0
    counts, _ = np.histogram(figures, N_BIN, (threshold, max(top, threshold + 1e-3)))
    data = {
        "radius": radius_pix, "low": threshold, "high": top, "counts": counts.tolist(),
        "mics": [_entry(one) for one in shown],
    }  # fmt: skip
    text = _PAGE.replace("@TITLE@", html.escape(title))
    # A name in the data must not end the script.
    text = text.replace("@DATA@", json.dumps(data).replace("</", "<\\/"))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _entry(one: Shown) -> dict[str, object]:
    picks = one.picks
    columns = (picks.x, picks.y, picks.merit, picks.class_number)
    rows = np.round(np.stack(columns, axis=1), 3).tolist() if picks.x.size else []
    picture = base64.b64encode(picks.picture).decode("ascii")
    return {
        "name": one.name, "w": one.shape[1], "h": one.shape[0], "picks": rows,
        "picture": f"data:image/jpeg;base64,{picture}",
    }  # fmt: skip


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<style>
body { font: 15px system-ui, sans-serif; margin: 0; background: #16191d; color: #e6e8eb; }
header { position: sticky; top: 0; background: #20252b; padding: 10px 16px; z-index: 1; }
h1 { font-size: 16px; margin: 0 0 6px; }
label { margin-right: 18px; white-space: nowrap; }
input[type=range] { width: 320px; vertical-align: middle; }
#bars { display: inline-block; vertical-align: middle; }
main { display: flex; padding: 12px; gap: 12px; }
nav { width: 230px; max-height: 82vh; overflow: auto; font-size: 13px; flex: none; }
nav div { padding: 3px 6px; cursor: pointer; overflow-wrap: anywhere; }
nav div.on { background: #2f6f4f; }
#view { width: min(100%, 1100px); height: auto; }
</style></head><body>
<header><h1>@TITLE@</h1>
<label>figure of merit at least <input type="range" id="cut" step="0.01">
<output id="value"></output></label>
<canvas id="bars" width="240" height="36"></canvas>
<label><input type="checkbox" id="circles" checked> circles</label>
<span id="total"></span> (arrow keys: next and previous micrograph)</header>
<main><nav id="list"></nav><canvas id="view"></canvas></main>
<script>
const data = @DATA@;
const cut = document.getElementById("cut"), view = document.getElementById("view");
const pen = view.getContext("2d"), list = document.getElementById("list");
const circles = document.getElementById("circles");
let at = 0, picture = new Image();
const good = mic => mic.picks.filter(p => p[2] >= +cut.value);
function bars() {
  const c = document.getElementById("bars"), b = c.getContext("2d"), n = data.counts.length;
  b.clearRect(0, 0, c.width, c.height);
  const most = Math.max(1, ...data.counts), width = c.width / n;
  data.counts.forEach((count, k) => {
    const low = data.low + (data.high - data.low) * k / n;
    b.fillStyle = low >= +cut.value ? "#40e060" : "#6a7280";
    const height = c.height * count / most;
    b.fillRect(k * width, c.height - height, width - 1, height);
  });
}
function draw() {
  view.width = picture.naturalWidth; view.height = picture.naturalHeight;
  pen.drawImage(picture, 0, 0);
  const mic = data.mics[at], factor = view.width / mic.w;
  pen.lineWidth = 2;
  if (circles.checked) for (const p of good(mic)) {
    pen.strokeStyle = `hsl(${(130 + 47 * Math.max(p[3] - 1, 0)) % 360} 80% 60%)`;
    pen.beginPath();
    pen.arc(p[0] * factor, p[1] * factor, data.radius * factor, 0, 2 * Math.PI);
    pen.stroke();
  }
}
function count() {
  let total = 0;
  data.mics.forEach((mic, k) => {
    const n = good(mic).length; total += n;
    list.children[k].title = mic.name;
    list.children[k].textContent = `${mic.name.split("/").pop()} (${n})`;
    list.children[k].className = k == at ? "on" : "";
  });
  document.getElementById("value").value = (+cut.value).toFixed(2);
  document.getElementById("total").textContent = `${total} particles shown`;
  bars();
}
function show(k) {
  if (!data.mics.length) return;
  at = (k + data.mics.length) % data.mics.length;
  picture = new Image(); picture.onload = draw; picture.src = data.mics[at].picture;
  count();
}
cut.min = data.low; cut.max = data.high; cut.value = data.low;
data.mics.forEach((mic, k) => {
  const entry = document.createElement("div");
  entry.onclick = () => show(k);
  list.appendChild(entry);
});
cut.oninput = () => { count(); draw(); };
circles.onchange = draw;
document.onkeydown = event => {
  if (event.target == cut) return;
  if (event.key == "ArrowRight" || event.key == "ArrowDown") show(at + 1);
  if (event.key == "ArrowLeft" || event.key == "ArrowUp") show(at - 1);
};
show(0);
</script></body></html>
"""
