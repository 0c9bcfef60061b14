// Links into the page: #image?prompt=a+whale opens a tab with its form filled in.

/** The tab and the values that the address names. */
export function linked() {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  return { tab, given: Object.fromEntries(new URLSearchParams(query)) };
}

/** Writes what a form says beside its defaults into the address, so that it can be passed on. */
export function remember(form) {
  const tab = form.closest("[role=tabpanel]")?.dataset.tab;
  if (!tab) return;
  const query = new URLSearchParams();
  for (const each of form.elements) {
    if (each.name && each.type !== "file" && changed(each)) {
      query.set(each.name, each.type === "checkbox" ? each.checked : each.value);
    }
  }
  history.replaceState(null, "", `#${tab}${query.size ? `?${query}` : ""}`);
}

function changed(control) {
  if (control.type === "checkbox") return control.checked !== control.defaultChecked;
  if (control.tagName === "SELECT")
    return control.value !== (control.dataset.usual ?? control.options[0]?.value);
  return control.value !== control.defaultValue;
}
