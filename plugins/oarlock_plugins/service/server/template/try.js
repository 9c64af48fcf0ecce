// One input, typed or filled in, and its answer.
let offered = "";

function chosenModel() {
  return known.find((model) => model.name === $("try-model").value);
}

function offer() { // anew only where models or what they take have changed: somebody may be typing
  const now = JSON.stringify(known.map((model) => [model.name, model.inputs]));
  $("try").hidden = !known.length;
  if (now === offered) return;
  offered = now;
  const before = $("try-model").value;
  $("try-model").replaceChildren(...known.map((model) => make("option", {}, model.name)));
  if (known.some((model) => model.name === before)) $("try-model").value = before;
  fields();
}

function fields() {
  const model = chosenModel();
  $("try-answer").replaceChildren();
  $("try-note").textContent = "";
  if (!model) return;
  $("try-inputs").replaceChildren(...model.inputs.map((input) => {
    const shape = input.shape.slice(1);
    const area = make("textarea", { "data-input": input.name, spellcheck: "false", placeholder: "[0.5, 1, …]" });
    return make("label", {}, make("span", { class: "label" }, `${input.name}: one row of ${shape.join(" × ") || "1"} ${input.datatype}`), area);
  }));
}

async function fill() {
  try {
    const example = await ask(`/status/${encodeURIComponent($("try-model").value)}/example`);
    for (const input of example.inputs) {
      document.querySelector(`[data-input="${CSS.escape(input.name)}"]`).value = JSON.stringify(input.data.map((value) => input.datatype === "FP32" ? Number(value.toPrecision(7)) : value));
    }
    $("try-note").textContent = "";
  } catch (error) { complain(error); }
}

function shapeOf(value) {
  return Array.isArray(value) ? [value.length, ...shapeOf(value[0])] : [];
}

function row(input) {
  const text = document.querySelector(`[data-input="${CSS.escape(input.name)}"]`).value;
  let data;
  try { data = JSON.parse(text); } catch { throw new Error(`${input.name}: expected numbers in brackets, such as [0.5, 1]`); }
  if (!Array.isArray(data)) data = [data];
  const nested = shapeOf(data);
  const shape = input.shape.slice(1);
  // A length that the model leaves open is that of what was typed.
  const size = data.flat(Infinity).length;
  const open = shape.filter((one) => one < 0).length;
  const rest = shape.filter((one) => one > 0).reduce((one, other) => one * other, 1);
  const whole = shape.map((one, axis) => (one > 0 ? one : open === 1 ? size / rest : nested[axis] ?? 1));
  return { name: input.name, datatype: input.datatype, shape: [1, ...whole], data: data.flat(Infinity) };
}

async function predict() {
  const model = chosenModel();
  $("try-answer").replaceChildren();
  try {
    const started = performance.now();
    const answer = await ask(`/v2/models/${encodeURIComponent(model.name)}/infer`, { inputs: model.inputs.map(row) });
    const took = performance.now() - started;
    $("try-note").className = "muted";
    $("try-note").textContent = `version ${answer.model_version} answered in ${took.toFixed(1)} ms`;
    $("try-answer").replaceChildren(...answer.outputs.map((output) => output_table(output, model.class_names)));
  } catch (error) { complain(error); }
}

function output_table(output, names) {
  const values = output.data.map(Number);
  const most = Math.max(...values);
  const least = Math.min(0, ...values);
  const classes = names && names.length === values.length;
  const rows = values.map((value, index) => {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${(140 * (value - least)) / (most - least || 1)}px`;
    return make("tr", classes && value === most ? { class: "best" } : {}, make("td", {}, classes ? names[index] : String(index)),
      make("td", {}, show(output.data[index])), make("td", {}, bar));
  });
  // The number of a class is shown with its name.
  const named = names && output.datatype.startsWith("INT") && values.length === 1 && values[0] in names;
  if (named) rows[0].cells[1].append(` (${names[values[0]]})`);
  const head = make("tr", {}, ...[classes ? "class" : "index", output.name, ""].map((text) => make("th", { scope: "col" }, text)));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

function complain(error) {
  $("try-note").className = "problem";
  $("try-note").textContent = error.message + (error.id ? ` (request ${error.id})` : "");
}

$("try-model").addEventListener("change", fields);
$("try-fill").addEventListener("click", fill);
$("try-send").addEventListener("click", predict);
look();
setInterval(() => { if (!document.hidden) look(); }, 1000);
