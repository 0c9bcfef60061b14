// Tabs as assistive technology knows them: arrow keys move, Home and End too, one stop for the Tab key.

import { h } from "./dom.js";
import { fill } from "./fields.js";
import { linked } from "./link.js";

/** `entries`: { id, title, make() → elements }; a tab is made when it is first shown. */
export function tabs(list, panels, entries) {
  const made = new Map();
  const buttons = entries.map(({ id, title }) =>
    h(
      "button",
      { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, "data-tab": id },
      title,
    ),
  );
  const shells = entries.map(({ id }) =>
    h("div", {
      role: "tabpanel",
      id: `panel-${id}`,
      "aria-labelledby": `tab-${id}`,
      "data-tab": id,
      hidden: true,
    }),
  );
  list.append(...buttons);
  panels.append(...shells);

  const show = (id, given = {}) => {
    const index = Math.max(
      0,
      entries.findIndex((each) => each.id === id),
    );
    buttons.forEach((each, i) => {
      each.setAttribute("aria-selected", String(i === index));
      each.tabIndex = i === index ? 0 : -1;
      shells[i].hidden = i !== index;
    });
    document.title = `${entries[index].title} · Pequod`;
    if (!made.has(index)) {
      made.set(index, true);
      shells[index].append(...entries[index].make());
    }
    fill(shells[index], given);
    shells[index].dispatchEvent(new Event("shown"));
  };

  const open = (index) => {
    const at = (index + entries.length) % entries.length;
    history.pushState(null, "", `#${entries[at].id}`);
    show(entries[at].id);
    buttons[at].focus();
  };
  list.addEventListener("click", (event) => {
    const index = buttons.indexOf(event.target.closest("[role=tab]"));
    if (index >= 0) open(index);
  });
  list.addEventListener("keydown", (event) => {
    const index = buttons.findIndex((each) => each.tabIndex === 0);
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    open(to);
  });
  const follow = () => {
    const { tab, given } = linked();
    show(tab, given);
  };
  addEventListener("hashchange", follow);
  addEventListener("popstate", follow);
  follow();
}
