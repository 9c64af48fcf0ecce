// Learning curves: every run's metric, the best run's on top; of a single run, its splits together.
function curveChart(series, over, name, height, rising) {
  return (width) => {
    const xs = series.flatMap((one) => one.x), ys = series.flatMap((one) => one.y);
    const box = { left: 58, right: width - 10, top: 26, bottom: height - 44 };
    const xAxis = axisOf(xs, "count"), yAxis = axisOf(ys, rising ? "linear" : undefined);
    const x = scale(xAxis, box.left, box.right), y = scale(yAxis, box.bottom, box.top);
    const svg = frame(width, height, box, xAxis, yAxis, x, y, { x: over, y: name, title: `${name} over ${over}` });
    const points = [];
    for (const one of series) {
      let path = "", pen = "M";
      one.y.forEach((value, index) => {
        if (typeof value !== "number" || (yAxis.kind === "log" && value <= 0)) { pen = "M"; return; }
        const at = [x(one.x[index]), y(value)];
        points.push([...at, one, index]);
        path += `${pen}${at[0].toFixed(1)} ${at[1].toFixed(1)}`;
        pen = "L";
      });
      const dot = one.y.length === 1 ? " h.01" : "";
      svg.append(make("path", { class: one.class + (one.y.length === 1 ? " point" : ""), style: one.style, "data-run": one.run, d: path && path + dot,
        "stroke-linecap": "round", "stroke-linejoin": "round" }));
    }
    const nearest = (event) => {
      const corner = svg.getBoundingClientRect();
      const px = event.clientX - corner.left, py = event.clientY - corner.top;
      let found = null, least = 40 ** 2;
      for (const point of points) {
        const away = (point[0] - px) ** 2 + (point[1] - py) ** 2;
        if (away < least) { least = away; found = point; }
      }
      return found;
    };
    svg.addEventListener("pointermove", (event) => {
      const found = nearest(event);
      hover(found ? found[2].run ?? null : null);
      if (!found) return tell(event, null);
      const [, , one, index] = found;
      const here = `${one.name ?? name} ${show(one.y[index])} at ${over} ${one.x[index]}`;
      return tell(event, one.run === undefined ? here : `${here}\n${about(one.run)}`);
    });
    svg.addEventListener("pointerleave", (event) => { hover(null); tell(event, null); });
    svg.addEventListener("click", (event) => { const found = nearest(event); if (found && found[2].run !== undefined) choose(found[2].run); });
    return svg;
  };
}

function curvesOfMany() {
  const metric = $("curve-metric"), over = $("curve-over");
  metric.append(...data.metrics.map((name) => make("option", {}, name)));
  // Several evaluations in an epoch would stand on one line.
  if (data.runs.some((run) => new Set(run.epoch).size < run.epoch.length)) over.value = "step";
  const draw = (width) => {
    const series = [];
    data.runs.forEach((run, index) => {
      const y = run.curves[metric.value];
      if (y && y.some((value) => typeof value === "number")) {
        const tint = shade(index);
        series.push({ run: index, name: metric.value, x: run[over.value], y, class: `run${tint.class}`, style: tint.style });
      }
    });
    series.sort((one, other) => (one.run === best) - (other.run === best) || (place.get(other.run) ?? 1e9) - (place.get(one.run) ?? 1e9));
    crowd($("curve-chart"), series.length);
    return curveChart(series, over.value, metric.value, 380, data.directions[metric.value] === "max")(width);
  };
  const again = drawn($("curve-chart"), draw);
  metric.addEventListener("change", again);
  over.addEventListener("change", again);
  const legend = $("curve-legend");
  legend.append(make("span", { class: "ramp" }), " worst to best · ", make("span", { class: "key best" }), " best · ");
  if (data.runs.some((_, index) => !place.has(index))) legend.append(make("span", { class: "key" }), " pruned, failed or not ended · ");
  legend.append(make("span", { class: "key chosen" }), " marked by a click");
}

function curvesOfOne() {
  const run = data.runs[0], chart = $("curve-chart");
  const over = new Set(run.epoch).size < run.epoch.length ? "step" : "epoch";
  const kinds = [...new Set(data.metrics.map((name) => name.split("/").slice(1).join("/")))];
  chart.className = "grid fit";
  for (const kind of kinds) {
    const names = data.metrics.filter((name) => name.endsWith(`/${kind}`)).sort();
    const series = names.map((name) => ({ name, x: run[over], y: run.curves[name], class: name.startsWith("train/") ? "series0" : "series1" }));
    const cell = make("div"), place = make("div", { class: "chart" });
    const keys = names.map((name) => [make("span", { class: `key ${name.startsWith("train/") ? "" : "series1"}` }), ` ${name.split("/")[0]} `]);
    cell.append(place, make("p", { class: "legend" }, ...keys.flat()));
    chart.append(cell);
    drawn(place, curveChart(series, over, kind, 280, data.directions[names[0]] === "max"));
  }
}

if (data.metrics.length) {
  $("curves").hidden = false;
  if (data.single) curvesOfOne(); else curvesOfMany();
}
