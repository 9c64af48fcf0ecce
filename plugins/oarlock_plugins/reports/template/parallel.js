// Parallel coordinates: a line for each point through its parameters and what was found.
function parallel(width) {
  const axes = [...data.axes.map((axis) => ({ ...axis, of: (point) => point.values[axis.key] })),
    ...data.objectives.filter((axis) => axis.kind).map((axis, index) => ({ ...axis, of: (point) => point.found[index][0] }))];
  const height = 380, top = 52, bottom = height - 34, left = 56, right = width - 56;
  const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "Parallel coordinates of parameters and objectives" });
  const positions = axes.map((_, index) => left + (index * (right - left)) / Math.max(1, axes.length - 1));
  const scales = axes.map((axis) => scale(axis, bottom, top));
  const height_of = (point, index) => {
    const value = axes[index].of(point);
    return value === null || value === undefined ? bottom + 18 : scales[index](value);
  };
  const lines = data.points.map((point, number) => {
    const d = axes.map((_, index) => `${index ? "L" : "M"}${positions[index].toFixed(1)} ${height_of(point, index).toFixed(1)}`).join("");
    const tint = shade(point.run);
    const line = make("path", { class: `run${tint.class}`, style: tint.style, d, "data-run": point.run });
    line.addEventListener("pointermove", (event) => { hover(point.run); tell(event, about(point.run)); });
    line.addEventListener("pointerleave", (event) => { hover(null); tell(event, null); });
    line.addEventListener("click", () => choose(point.run));
    return { point, line, number };
  });
  const layer = make("g");
  crowd(layer, lines.length);
  layer.append(...[...lines].reverse().map(({ line }) => line));
  svg.append(layer);
  const brushes = axes.map(() => null);
  const keep = () => {
    let inside = 0;
    for (const { point, line } of lines) {
      const out = brushes.some((brush, index) => brush && (height_of(point, index) < brush[0] || height_of(point, index) > brush[1]));
      line.classList.toggle("out", out);
      inside += !out;
    }
    const any = brushes.some(Boolean);
    $("brush-count").textContent = any ? `· ${inside} of ${lines.length} points` : "";
    $("brush-clear").hidden = !any;
  };
  const bands = axes.map((axis, index) => {
    const at = positions[index];
    const [last, ...before] = axis.key.split(".").reverse();
    const anchor = index === 0 && axes.length > 1 ? "start" : index === axes.length - 1 && axes.length > 1 ? "end" : "middle";
    const edge = anchor === "start" ? at - left : anchor === "end" ? at + 56 : at;
    svg.append(make("text", { x: edge, y: 14, "text-anchor": anchor }, before.reverse().join(".")));
    svg.append(make("text", { class: "title", x: edge, y: 30, "text-anchor": anchor }, last, make("title", {}, axis.key)));
    svg.append(make("line", { class: "axis", x1: at, x2: at, y1: top, y2: bottom }));
    for (const value of scales[index].ticks(6)) {
      svg.append(make("line", { class: "axis", x1: at - 4, x2: at, y1: scales[index](value), y2: scales[index](value) }));
      svg.append(make("text", { class: "over", x: at - 7, y: scales[index](value) + 4, "text-anchor": "end" }, label(value)));
    }
    if (data.points.some((point) => axis.of(point) === null)) svg.append(make("text", { x: at + 6, y: bottom + 22 }, "not set"));
    const band = make("rect", { class: "brush", x: at - 9, width: 18, y: 0, height: 0, visibility: "hidden" });
    const grip = make("rect", { class: "grip", x: at - 14, width: 28, y: top - 6, height: bottom - top + 12 });
    const here = (event) => Math.max(top - 4, Math.min(bottom + 4, event.clientY - svg.getBoundingClientRect().top));
    let start = null;
    grip.addEventListener("pointerdown", (event) => { start = here(event); grip.setPointerCapture(event.pointerId); });
    grip.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const ends = [start, here(event)].sort((one, other) => one - other);
      brushes[index] = ends[1] - ends[0] < 4 ? null : ends;
      band.setAttribute("visibility", brushes[index] ? "visible" : "hidden");
      band.setAttribute("y", ends[0]);
      band.setAttribute("height", ends[1] - ends[0]);
      keep();
    });
    grip.addEventListener("pointerup", (event) => {
      if (start !== null && Math.abs(here(event) - start) < 4) { brushes[index] = null; band.setAttribute("visibility", "hidden"); keep(); }
      start = null;
    });
    svg.append(band, grip);
    return band;
  });
  $("brush-clear").onclick = () => {
    brushes.fill(null);
    bands.forEach((band) => band.setAttribute("visibility", "hidden"));
    keep();
  };
  keep();
  return svg;
}

if (data.axes.length && data.points.length > 1) {
  $("parallel").hidden = false;
  $("parallel").querySelector(".pruned").hidden = data.points.length === data.ranked;
  const axes = data.axes.length + data.objectives.length;
  $("parallel-chart").style.minWidth = `${112 + 104 * (axes - 1)}px`;
  drawn($("parallel-chart"), parallel);
}
