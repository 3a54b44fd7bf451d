// The tab "Runs and reports" in TensorBoard (board.py): a table of the runs, with links to their reports.
const STYLE = `
  body { font: 14px/1.5 system-ui, sans-serif; margin: 24px; color: #1f1f1f; background: #fff; }
  h1 { font-size: 20px; font-weight: 600; }
  .table { overflow-x: auto; }
  table { border-collapse: collapse; }
  th, td { padding: 6px 14px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
  th:nth-child(-n+2), td:nth-child(-n+2), th:last-child, td:last-child { text-align: left; }
  td.broken { color: #a11; white-space: normal; min-width: 14em; }
  a { color: #0b57d0; }
  @media (max-width: 600px) { body { margin: 12px; } th, td { padding: 6px 8px; } }
`;
const COLUMNS = ["run", "state", "steps", "loss", "EM base", "EM tuned", "F1 tuned", "report"];

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text ?? "";
  return made;
}

function row(run) {
  const made = document.createElement("tr");
  const loss = run.loss == null ? "" : run.loss.toFixed(3);
  const state = cell("td", run.state);
  if (run.state.startsWith("broken")) state.className = "broken";
  made.append(cell("td", run.name), state, cell("td", run.steps), cell("td", loss));
  made.append(...[run.em_base, run.em, run.f1].map((value) => cell("td", value?.toFixed(1))));
  const report = document.createElement("td");
  if (run.report) {
    const link = cell("a", "open");
    link.href = new URL(`./report?run=${encodeURIComponent(run.name)}`, import.meta.url).href;
    link.target = "_blank";
    link.rel = "noopener";
    link.setAttribute("aria-label", `open the report of ${run.name}`);
    report.append(link);
  }
  made.append(report);
  return made;
}

export async function render() {
  const style = document.createElement("style");
  style.textContent = STYLE;
  document.head.append(style);
  document.documentElement.lang = "en";
  document.title = "Runs and reports";
  const title = cell("h1", "Runs, the newest first");
  const answer = await fetch(new URL("./runs", import.meta.url));
  const runs = answer.ok ? await answer.json() : [];
  if (!runs.length) {
    show(title, cell("p", answer.ok ? "No runs yet; next: invoke train" : "The list did not load."));
    return;
  }
  const table = document.createElement("table");
  const head = document.createElement("tr");
  head.append(...COLUMNS.map((name) => Object.assign(cell("th", name), { scope: "col" })));
  table.append(head, ...runs.map(row));
  const box = document.createElement("div");
  box.className = "table";
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "runs");
  box.append(table);
  show(title, box);
}

function show(...parts) {
  const main = document.createElement("main");
  main.append(...parts);
  document.body.replaceChildren(main);
}
