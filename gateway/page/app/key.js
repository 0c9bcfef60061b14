// The key of whoever sits here: in this tab's session only, sent to this platform only.

const NAME = "pequod-key";

/** The key, or "". */
export const key = () => sessionStorage.getItem(NAME) ?? "";

/** Lets the field in the header hold it. `changed` is called with every other key. */
export function keepKey(form, changed) {
  const field = form.querySelector("input");
  field.value = key();
  form.addEventListener("submit", (event) => event.preventDefault());
  field.addEventListener("change", () => {
    const typed = field.value.trim();
    if (typed) sessionStorage.setItem(NAME, typed);
    else sessionStorage.removeItem(NAME);
    changed();
  });
}
