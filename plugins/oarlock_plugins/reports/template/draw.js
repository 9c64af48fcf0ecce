// Scales and axes.
function scale(axis, from, to) {
  if (axis.kind === "category") {
    const at = (value) => from + ((axis.values.indexOf(String(value)) + 0.5) / axis.values.length) * (to - from);
    at.ticks = () => axis.values;
    return at;
  }
  const bend = axis.kind === "log" ? Math.log10 : (value) => value;
  let [low, high] = axis.domain.map(bend);
  if (low === high) { low -= 0.5; high += 0.5; }
  const at = (value) => from + ((bend(value) - low) / (high - low)) * (to - from);
  at.ticks = (count) => ticks(axis.kind, low, high, count);
  return at;
}

function ticks(kind, low, high, count) {
  const found = [];
  if (kind === "log") {
    const each = high - low < 1.2 ? [1, 2, 5] : high - low < 3.2 && count > 3 ? [1, 3] : [1];
    const stride = Math.max(1, Math.ceil((high - low) / count));
    for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
      for (const digit of each) {
        const value = digit * 10 ** power;
        const inside = Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9;
        if (inside && (power % stride === 0 || each.length > 1)) found.push(value);
      }
    }
    return found;
  }
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, ...(kind === "count" ? [] : [2.5]), 5, 10].map((digit) => digit * power).find((value) => value >= rough);
  if (kind === "count") step = Math.max(1, Math.round(step));
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

function label(value) {
  const text = typeof value === "number" ? show(value).replace("e+", "e") : String(value);
  return text.length > 14 ? `${text.slice(0, 13)}…` : text;
}

function axisOf(values, kind) {
  const known = values.filter((value) => typeof value === "number");
  let low = Infinity, high = -Infinity; // Math.min takes no more arguments than fit the stack
  for (const value of known) { low = Math.min(low, value); high = Math.max(high, value); }
  return { kind: kind ?? (low > 0 && high / low > 50 ? "log" : "linear"), domain: [low, high] };
}

function frame(width, height, box, xAxis, yAxis, x, y, names) { // grid, tick labels, names of the axes
  const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": names.title });
  for (const value of y.ticks(Math.max(4, Math.floor((box.bottom - box.top) / 45)))) {
    const at = y(value);
    svg.append(make("line", { class: "gridline", x1: box.left, x2: box.right, y1: at, y2: at }));
    svg.append(make("text", { x: box.left - 8, y: at + 4, "text-anchor": "end" }, label(value)));
  }
  const room = (box.right - box.left) / (xAxis.kind === "category" ? 1 : 70);
  const shown = x.ticks(Math.max(2, Math.floor(room)));
  const wide = shown.length * 58 > box.right - box.left && xAxis.kind === "category";
  shown.forEach((value, index) => {
    if (wide && index % Math.ceil((shown.length * 58) / (box.right - box.left))) return;
    svg.append(make("text", { x: x(value), y: box.bottom + 18, "text-anchor": "middle" }, label(value)));
  });
  svg.append(make("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  svg.append(make("text", { x: box.right, y: box.bottom + 36, "text-anchor": "end" }, names.x));
  svg.append(make("text", { class: "title", x: 0, y: 12 }, names.y));
  return svg;
}
