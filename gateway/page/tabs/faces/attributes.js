// What a face shall show, where the model can be told.

import { h } from "../../app/dom.js";
import { choice } from "../../app/fields.js";

const PREFIX = "with ";

/** Selects for a model's attributes; `fit(model)` makes those of another model. */
export function attributeFields() {
  const element = h("div", { class: "fields" });
  return {
    element,
    fit(model) {
      const known = new Map();
      for (const [name, value] of model?.config?.attributes ?? []) {
        known.set(name, [...(known.get(name) ?? [["", "any"]]), [value, value]]);
      }
      element.replaceChildren(
        ...[...known].map(([name, options]) => choice(PREFIX + name, name.replaceAll("_", " "), options)),
      );
      if (!known.size) element.append(h("p", { class: "hint" }, "This model takes none."));
    },
  };
}

/** What of a form's values is an attribute, by the model's names. */
export function stated(given) {
  const chosen = Object.entries(given).filter(([name]) => name.startsWith(PREFIX));
  return Object.fromEntries(chosen.map(([name, value]) => [name.slice(PREFIX.length), value]));
}
