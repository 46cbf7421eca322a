// Draws `data.rows` as a table with a box to tick before each row, and says which box the visitor ticks or unticks.
// What is ticked is the page's to say (`data.ticked`). All text enters as text, never as HTML.
export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".ticked");
  const cell = (tag, text, number) => {
    const made = document.createElement(tag);
    made.textContent = text;
    made.title = text.length > 40 ? text : "";
    made.className = number ? "number" : "";
    return made;
  };
  const row = (texts, name) => {
    const made = document.createElement("tr"), tick = document.createElement("input");
    tick.type = "checkbox";
    tick.value = name;
    tick.setAttribute("aria-label", texts.slice(0, data.telling).join(", "));
    tick.onchange = () => {
      box.sent = Math.max(Date.now(), (box.sent ?? 0) + 1);
      box.waiting.delete(name);
      box.waiting.set(name, { on: tick.checked, sent: box.sent });
      setTriggerValue("ticked", { sent: box.sent, ticks: [...box.waiting].map(([other, { on }]) => [other, on]) });
    };
    const first = cell("td", "");
    first.append(tick);
    made.append(first, ...texts.map((text, column) => cell("td", text, data.numbers[column])));
    return made;
  };
  // Streamlit hands on the last of several quick messages alone: each therefore holds all ticks that are not answered yet.
  box.waiting ??= new Map();
  for (const [name, { sent }] of box.waiting) if (sent <= data.answered) box.waiting.delete(name);
  const drawn = JSON.stringify([data.headings, data.rows, data.names]);
  if (box.drawn !== drawn) {
    const table = document.createElement("table"), head = table.createTHead().insertRow();
    head.append(cell("td", ""), ...data.headings.map((text, column) => cell("th", text, data.numbers[column])));
    for (const heading of head.querySelectorAll("th")) heading.scope = "col";
    table.createTBody().append(...data.rows.map((texts, position) => row(texts, data.names[position])));
    table.className = "plain";
    box.replaceChildren(table);
    box.setAttribute("aria-label", data.label);
    box.drawn = drawn;
  }
  for (const tick of box.querySelectorAll("input")) {
    tick.checked = box.waiting.get(tick.value)?.on ?? data.ticked.includes(tick.value);
    tick.disabled = data.full && !tick.checked;
    tick.title = tick.disabled ? data.full : "";
    tick.closest("tr").classList.toggle("chosen", tick.checked);
  }
}
