// Points against one value: a parameter, a second objective, or time; and the bars of importance.
function scatterChart({ xAxis, yAxis, xOf, yOf, names, front, steps, height, failed = [] }) {
  return (width) => {
    const box = { left: 58, right: width - 12, top: 28, bottom: height - 44 };
    const x = scale(xAxis, box.left + 8, box.right - 8), y = scale(yAxis, box.bottom - 8, box.top);
    const svg = frame(width, height, box, xAxis, yAxis, x, y, names);
    const spread = (index) => (xAxis.kind === "category" ? (((index * 7919) % 13) / 12 - 0.5) * Math.min(24, (box.right - box.left) / xAxis.values.length / 2) : 0);
    if (front && steps) {
      const along = front.map((index) => data.points[index]).map((point) => [x(xOf(point)), y(yOf(point))]).sort((one, other) => one[0] - other[0]);
      svg.append(make("path", { class: "front-line", d: along.map(([px, py], index) => (!index ? `M${px} ${py}` : xAxis.direction === "max" ? `V${py}H${px}` : `H${px}V${py}`)).join("") }));
    }
    for (const value of failed) {
      if (value === null || value === undefined || (xAxis.kind === "category" && !xAxis.values.includes(String(value)))) continue;
      const px = x(value);
      if (!(px >= box.left && px <= box.right)) continue;
      svg.append(make("path", { class: "failed-mark", d: `M${px - 3.5} ${box.bottom - 6.5}l7 7m0 -7l-7 7` }, make("title", {}, "failed")));
    }
    const order = data.points.map((point, index) => [point, index]).reverse();
    for (const [point, index] of order) {
      const xv = xOf(point), yv = yOf(point);
      if (typeof yv !== "number" || xv === null || xv === undefined) continue;
      const tint = shade(point.run);
      const dot = make("circle", { class: `dot${tint.class}${front && front.includes(index) ? " front" : ""}`, style: tint.style,
        cx: (x(xv) + spread(index)).toFixed(1), cy: y(yv).toFixed(1), r: point.run === best ? 5.5 : 4.2, "data-run": point.run });
      dot.addEventListener("pointermove", (event) => { hover(point.run); tell(event, about(point.run)); });
      dot.addEventListener("pointerleave", (event) => { hover(null); tell(event, null); });
      dot.addEventListener("click", () => choose(point.run));
      svg.append(dot);
    }
    return svg;
  };
}

function bars(width) {
  const found = data.importance.values, row = 34;
  const svg = make("svg", { width, height: found.length * row + 4, role: "img", "aria-label": "Parameter importance" });
  found.forEach(([key, value], index) => {
    const top = index * row;
    svg.append(make("text", { class: "title", x: 0, y: top + 13 }, key));
    svg.append(make("text", { x: width, y: top + 13, "text-anchor": "end" }, `${(value * 100).toFixed(1)} %`));
    svg.append(make("rect", { class: "gridline", x: 0.5, y: top + 18.5, width: width - 1, height: 7, rx: 3, fill: "none" }));
    svg.append(make("rect", { class: "bar", x: 0, y: top + 18, width: Math.max(2, value * width), height: 8, rx: 3 }));
  });
  return svg;
}

const objective = data.objectives[0];
if (objective && objective.kind && data.points.length > 1) {
  const yOf = (point) => point.found[0][0];
  if (data.axes.length) {
    $("importance").hidden = $("scatter").hidden = false;
    $("importance-note").textContent = data.importance.note;
    if (data.importance.values.length) drawn($("importance-chart"), bars);
    const lost = data.runs.filter((run) => run.status === "failed");
    for (const axis of data.axes) {
      const cell = make("div", { class: "chart" });
      $("scatter-charts").append(cell);
      const failed = lost.map((run) => run.config[axis.key]).map((value) => (axis.kind === "category" || value === undefined ? value : Number(value)));
      drawn(cell, scatterChart({ xAxis: axis, yAxis: objective, xOf: (point) => point.values[axis.key], yOf, height: 240, failed,
        names: { x: axis.key, y: objective.key, title: `${objective.key} against ${axis.key}` } }));
    }
  }
  const others = data.objectives.slice(1).map((axis, index) => ({ axis, of: (point) => point.found[index + 1][0] }));
  const onFront = data.points.flatMap((point, index) => (point.front ? [index] : []));
  const views = others.length ? others : data.cost && data.cost.kind ? [{ axis: { ...data.cost, key: "seconds" }, of: (point) => point.seconds }] : [];
  for (const { axis, of } of views.filter((view) => view.axis.kind)) {
    $("front").hidden = false;
    const cell = make("div", { class: "chart" });
    $("front-chart").append(cell);
    drawn(cell, scatterChart({ xAxis: axis, yAxis: objective, xOf: of, yOf, front: others.length ? onFront : data.cost.front, steps: others.length < 2,
      height: 300, names: { x: axis.key, y: objective.key, title: `${objective.key} against ${axis.key}` } }));
  }
  $("front-title").textContent = others.length ? "Pareto front" : "Result against time";
  $("front-note").textContent = others.length ? `No other point beats the ${onFront.length} ringed ones in every objective.`
    : "No other point beats the ringed ones in both result and time.";
}
