// Configurations side by side: the best points and the run that is marked, what differs first.
function compare() {
  const other = $("configs-other");
  const columns = data.single ? [0] : [...new Set([...data.points.slice(0, Math.min(5, data.ranked)).map((point) => point.run), Number(other.value)])];
  const runs = columns.map((index) => data.runs[index]);
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.config)))];
  const text = (run, key) => run.config[key] ?? data.same[key] ?? "–";
  const differ = data.single ? keys : keys.filter((key) => new Set(runs.map((run) => text(run, key))).size > 1);
  const known = data.axes.map((axis) => axis.key);
  const order = (key) => (known.includes(key) ? known.indexOf(key) : known.length);
  differ.sort((one, two) => order(one) - order(two));
  const head = make("tr", {}, make("th", { scope: "col" }, ""), ...columns.map((index) => make("th", { scope: "col" }, title(index))));
  const measured = [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))];
  const rows = measured.map((key) => line(key, runs.map((run) => (key in run.metrics ? show(run.metrics[key]) : "–")), ""));
  rows.push(...(data.single ? [] : differ.map((key) => line(key, runs.map((run) => text(run, key)), "differs"))));
  $("configs-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  const rest = data.single ? keys : [...Object.keys(data.same), ...keys.filter((key) => !differ.includes(key))];
  $("configs-same").hidden = !rest.length;
  $("configs-same").querySelector("summary").textContent = data.single ? `Its configuration (${rest.length} values)` : `The same in these runs (${rest.length})`;
  $("configs-same").querySelector("table").replaceChildren(make("tbody", {}, ...rest.map((key) => line(key, [text(runs[0], key)], ""))));
}

function title(index) {
  const at = place.get(index);
  return data.single ? "" : `${data.runs[index].name}${at === undefined ? "" : ` (place ${at + 1})`}`;
}

function line(key, values, kind) {
  return make("tr", {}, make("th", { scope: "row" }, key), ...values.map((value) => make("td", { class: `wrap ${kind}` }, value)));
}

if (data.runs.length) {
  $("configs").hidden = false;
  $("configs-other").append(...data.runs.map((run, index) => make("option", { value: index }, title(index))));
  if (best !== null) $("configs-other").value = data.points[data.ranked > 1 ? 1 : 0].run;
  if (data.single) { $("configs-title").textContent = "Metrics and configuration"; $("configs-same").open = true; }
  $("configs-other").addEventListener("change", compare);
  document.addEventListener("chosen", () => { if (chosen !== null) { $("configs-other").value = chosen; compare(); } });
  compare();
}
