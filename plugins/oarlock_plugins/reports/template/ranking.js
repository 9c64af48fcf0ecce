// The ranking: sorted by a click on a heading, filtered by words, marked by a click on a row; and the copy button.
const table = $("ranking"), body = table.tBodies[0];
table.tHead.addEventListener("click", (event) => {
  const cell = event.target.closest("th");
  if (!cell) return;
  const up = cell.getAttribute("aria-sort") !== "ascending";
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  cell.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => row.cells[cell.cellIndex].dataset.v;
  const compareValues = (one, two) => {
    const [a, b] = [value(one), value(two)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = Number(a) - Number(b);
    return (up ? 1 : -1) * (Number.isNaN(numbers) ? a.localeCompare(b) : numbers);
  };
  body.append(...[...body.rows].sort(compareValues));
});
body.addEventListener("click", (event) => { if (!event.target.closest("a")) choose(Number(event.target.closest("tr").dataset.run)); });
body.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.matches("tr")) choose(Number(event.target.dataset.run)); });
body.addEventListener("pointerover", (event) => hover(Number(event.target.closest("tr").dataset.run)));
body.addEventListener("pointerleave", () => hover(null));
$("filter").addEventListener("input", () => {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of body.rows) {
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    shown += !row.hidden;
  }
  $("filter-count").textContent = words.length ? `${shown} of ${body.rows.length}` : "";
});
const copy = $("copy");
if (copy) {
  copy.addEventListener("click", async () => {
    const done = () => { copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy"; }, 1500); };
    try {
      await navigator.clipboard.writeText($("command").textContent);
      done();
    } catch {
      getSelection().selectAllChildren($("command")); // it is marked, and copied by hand
    }
  });
}
