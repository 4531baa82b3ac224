// Checks of the form for settings, run in the page by the browser's driver. Gives the names of the
// checks that failed, and why.
//
// Arguments: the folder of the page's files, the schemas of the shipped rules by their names.

const [base, schemas, done] = arguments;

const failed = [];
const check = (name, found, expected) => {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) failed.push(`${name}: ${a} instead of ${b}`);
};

const type = (input, value) => {
  input.value = value;
  for (const name of ["input", "change"]) input.dispatchEvent(new Event(name, { bubbles: true }));
};

// The control with a label. Required ones have a star.
function labelled(form, text, place = 0) {
  const labels = [...form.node.querySelectorAll("label")].filter((label) => label.textContent.replace(" *", "") === text);
  if (!labels[place]) throw new Error(`there is no label ${text}`);
  return document.getElementById(labels[place].htmlFor);
}

const press = (form, text) =>
  [...form.node.querySelectorAll("button")].find((button) => button.textContent === text || button.getAttribute("aria-label") === text).click();

const LIMITS = { without_limit: "pass", later: { a: [1] }, limits: [{ method: null, currency: "EUR", review_above_minor: 1_000_000 }, { maximum_minor: 700 }] };

function amounts(shown) {
  const form = shown("amount-limits", LIMITS);
  const first = () => form.read().value.limits[0];
  check("what nobody touched stays, also what the schema does not know", form.read(), { value: LIMITS, problems: [] });
  check("money is shown in major units", labelled(form, "Review above").value, "10,000.00");
  type(labelled(form, "Review above"), "1000");
  check("money is read in major units", first(), { method: null, currency: "EUR", review_above_minor: 100_000 });
  type(labelled(form, "Currency"), "JPY");
  check("the exponent is that of the currency", first().review_above_minor, 1_000);
  type(labelled(form, "Currency"), "KWD");
  check("a currency may have three decimals", first().review_above_minor, 1_000_000);
  type(labelled(form, "Currency"), "");
  check("without a currency the minor units stay", first(), { method: null, review_above_minor: 1_000_000 });
  type(labelled(form, "Currency"), "EUR");
  for (const text of ["10.000,00", "1.005", "10,5", "ten", "9007199254740993"]) {
    type(labelled(form, "Review above"), text);
    check(`${text} is no amount in euros`, form.read().problems.map(({ pointer }) => pointer), ["/limits/0/review_above_minor"]);
  }
}

function raw(shown) {
  const form = shown("amount-limits", LIMITS);
  type(labelled(form, "Review above"), "x");
  press(form, "JSON");
  check("a form that cannot be read stays", form.node.querySelectorAll("textarea").length, 0);
  type(labelled(form, "Review above"), "2,500.50");
  press(form, "JSON");
  const text = form.node.querySelector("textarea");
  check("the other tab has what was typed", JSON.parse(text.value).limits[0].review_above_minor, 250_050);
  check("the other tab has what the form cannot show", JSON.parse(text.value).later, { a: [1] });
  text.value = text.value.replace("250050", "9007199254740993");
  check("a number that would change is refused", form.read().problems.length, 1);
  const written = { limits: [{ method: "card" }], later: null };
  text.value = JSON.stringify(written);
  press(form, "Form");
  check("what was written comes back into the form", form.read(), { value: written, problems: [] });
}

function lists(shown) {
  const form = shown("amount-limits", { limits: [{ currency: "EUR", minimum_minor: 100 }] });
  press(form, "Add a limit");
  type(labelled(form, "Currency", 1), "usd");
  check("an item is added", form.read().value.limits[1], { currency: "USD" });
  form.node.querySelectorAll(".handle")[1].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true }));
  check("an item is moved by key", form.read().value.limits.map(({ currency }) => currency), ["USD", "EUR"]);
  form.showProblems([{ pointer: "/limits/1/currency", detail: "from the server" }, { pointer: "/limits/9", detail: "somewhere" }]);
  const lines = [...form.node.querySelectorAll(".field-error")].filter((line) => !line.hidden).map((line) => line.textContent);
  check("errors stand at their places", lines, ["from the server", "somewhere"]);
  check("a wrong field is told to readers", labelled(form, "Currency", 1).getAttribute("aria-invalid"), "true");
  press(form, "Remove limit 1");
  check("an item is removed", form.read().value.limits, [{ currency: "EUR", minimum_minor: 100 }]);
  press(form, "Remove limit 1");
  check("a list may need an item", form.read().problems.map(({ pointer }) => pointer), ["/limits"]);
}

function variants(shown) {
  const settings = { lists: [{ list: "a", selector: { metadata: "shop" }, verdict: "reject" }, { list: "b", selector: "card", verdict: "allow", matching: "of-a-later-version" }] };
  const form = shown("party-lists", settings);
  check("variants and unknown words stay", form.read(), { value: settings, problems: [] });
  const selector = labelled(form, "Selector");
  type(selector, [...selector.options].find((option) => option.textContent === "signal").value);
  check("a variant asks for its own settings", form.read().problems.map(({ pointer }) => pointer), ["/lists/0/selector/signal"]);
  type(labelled(form, "Signal"), "score");
  check("a variant is read", form.read().value.lists[0].selector, { signal: "score" });
}

function durationsAndSets(shown) {
  const form = shown("duplicate-payment", {});
  check("what must be set is told", form.read().problems.map(({ pointer }) => pointer), ["/verdict"]);
  type(labelled(form, "Verdict"), "0");
  type(labelled(form, "Window"), "90");
  const unit = form.node.querySelector('select[aria-label="Unit of Window"]');
  check("the unit is that of the default", unit.value, "d");
  type(unit, "min");
  labelled(form, "card").click();
  check("durations and sets are read", form.read(), { value: { verdict: "review", methods: ["card"], window_seconds: 5_400 }, problems: [] });
}

import(`${base}rules/settings_form.js`).then(({ settingsForm }) => {
  const shown = (rule, value) => {
    const form = settingsForm(schemas[rule], value);
    document.body.append(form.node);
    return form;
  };
  for (const part of [amounts, raw, lists, variants, durationsAndSets]) part(shown);
  for (const [rule, schema] of Object.entries(schemas)) {
    const form = settingsForm(schema, {});
    check(`every setting of ${rule} has a control of its own`, form.node.querySelectorAll("textarea").length, 0);
  }
}).catch((error) => failed.push(String(error.stack))).finally(() => done(failed));
