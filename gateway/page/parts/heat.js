// A table of numbers as a field of colours.

import { h, svg } from "../app/dom.js";

/** Pixels of a cell: few stand large, many still fit. */
const cellOf = (count) => (count <= 10 ? 40 : count <= 20 ? 28 : 22);
const LETTER = 8;

/**
 * Rows by columns of shares 0..1, with names for both; a cell says its own figure.
 * `act(row)` is called when a row is pointed at or reached by the keyboard; `most`: letters of a name.
 */
export function heat(
  shares,
  rows,
  columns,
  { label, say = (v) => v.toFixed(2), act = null, most = 12 } = {},
) {
  const cut = (name) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
  const longest = (names) => Math.max(...names.map((each) => cut(each).length)) * LETTER + 14;
  const at = { cell: cellOf(columns.length), left: longest(rows), top: Math.max(24, longest(columns) * 0.9) };
  const [width, height] = [at.left + columns.length * at.cell + 24, at.top + rows.length * at.cell];
  const made = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, class: "heat", role: "img", "aria-label": label },
    ...columns.map((name, j) =>
      svg(
        "text",
        {
          class: "name",
          transform: `translate(${at.left + (j + 0.5) * at.cell} ${at.top - 6}) rotate(-60)`,
        },
        cut(name),
      ),
    ),
    ...rows.map((name, i) =>
      svg(
        "g",
        rowProps(i, act),
        svg(
          "text",
          { class: "name", x: at.left - 8, y: at.top + (i + 0.5) * at.cell + 4, "text-anchor": "end" },
          cut(name),
        ),
        ...shares[i].map((share, j) =>
          cell(
            share,
            at.left + j * at.cell,
            at.top + i * at.cell,
            at.cell - 2,
            `${name} – ${columns[j]}: ${say(share)}`,
          ),
        ),
      ),
    ),
  );
  made.style.setProperty("--natural", `${width}px`);
  return h("div", { class: "scroll" }, made);
}

const rowProps = (i, act) =>
  act ? { class: "row", tabindex: 0, onpointerenter: () => act(i), onfocus: () => act(i) } : { class: "row" };

function cell(share, x, y, side, title) {
  const made = svg(
    "rect",
    { x, y, width: side, height: side, rx: 3, class: "cell" },
    svg("title", {}, title),
  );
  made.style.setProperty("--share", Math.max(0, Math.min(1, share)).toFixed(3));
  return made;
}
