// The frame: header, navigation, the place of the view. Starts the page.

import { whenProposed } from "./api.js";
import { announce, announcements, button, element, failure, fill, heading, link, quiet } from "./elements.js";
import { Problem } from "./request.js";
import { ROUTES, SET_PASSWORD, SIGN_IN } from "./routes.js";
import { address, go, isAllowed, register, routeOf, showAddress, start } from "./router.js";
import { end, isSignedIn, person, resume, signOut, tenant, whenChanged, whenEnded } from "./session.js";
import { navigation as texts, signIn as signInTexts } from "./texts.js";

const outlet = element("main", { id: "content", tabindex: "-1" });
const header = element("header", {});
let isFirst = true;

function drawHeader() {
  const entries = isSignedIn() ? ROUTES.filter((route) => route.title && isAllowed(route)) : [];
  const items = entries.map((route) => element("li", {}, link(`#/${route.path}`, route.title)));
  fill(header,
    element("p", { class: "brand" }, texts.brand),
    items.length ? element("nav", { "aria-label": texts.label }, element("ul", {}, ...items)) : null,
    isSignedIn() ? element("div", { class: "who" },
      element("span", { class: "quiet", id: "session" }, texts.signedInAs(person().display_name, tenant().name)),
      button(texts.signOut, leave, { id: "sign-out" })) : null);
  markCurrent(address().path);
}

function markCurrent(path) {
  for (const entry of header.querySelectorAll("nav a")) {
    const own = entry.getAttribute("href").slice(2);
    if (path === own || path.startsWith(`${own}/`)) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
}

async function leave() {
  await signOut();
  announce(texts.signedOut);
  go(SIGN_IN);
}

const views = {
  missing: () => element("div", {}, heading(texts.missing), quiet(texts.missingDetail), link("#/", texts.home)),
  failed: (error, retry) => element("div", {}, heading(texts.failed), failure(error, retry)),
};

// The focus follows the view, except when the page has just been loaded.
function shown(path, node) {
  const title = node.querySelector("h1");
  document.title = [title?.textContent, texts.brand].filter(Boolean).join(" – ");
  markCurrent(path);
  if (!isFirst) {
    window.scrollTo(0, 0);
    (title ?? outlet).focus({ preventScroll: true });
  }
  isFirst = false;
}

// The first view that the person may see.
const home = () => ROUTES.find((route) => route.title && isAllowed(route)).path;

// Every address without a session shows the form to sign in, and then the view of the address.
const gate = (view) => ({
  show: async (context) => {
    if (isSignedIn()) return view(context);
    const { signInView } = await import("./views/sign_in.js");
    return signInView(() => (address().path === SIGN_IN ? go(home()) : showAddress()));
  },
});

const gated = (route) => ({ ...route, needs: undefined, load: async () => gate(async (context) => {
  if (!isAllowed(route)) return views.missing();
  const view = await route.load();
  return view.show(context);
}) });

const plain = (path, show) => ({ path, load: async () => ({ show }) });

register([
  plain("", () => gate(() => { go(home(), { replace: true }); return element("div"); }).show({})),
  plain(SIGN_IN, () => gate(() => { go(home(), { replace: true }); return element("div"); }).show({})),
  plain(`${SET_PASSWORD}/:token`, async ({ parameters }) => {
    const { setPasswordView } = await import("./views/set_password.js");
    return setPasswordView(parameters.token, () => go(SIGN_IN));
  }),
  ...ROUTES.map(gated),
]);

whenChanged(drawHeader);

whenProposed(() => announce([texts.proposed, " ", link("#/proposals", texts.toProposals)]));

// The view stays as it is under the dialog. Nobody else may see it, so another person gets a new page.
whenEnded(async (before) => {
  const { signInDialog } = await import("./views/sign_in.js");
  const isBack = await signInDialog({ tenant: before?.tenant.name, email: before?.user.email });
  if (isBack && before && person().id !== before.user.id) {
    announce(signInTexts.anotherPerson);
    location.reload();
    // What waits was asked for by the person before, and must not be sent in the name of this one.
    return new Promise(() => {});
  }
  if (isBack) return undefined;
  end();
  drawHeader();
  go(SIGN_IN);
  throw new Problem({ status: 401, detail: signInTexts.again });
});

async function open() {
  const skip = button(texts.skip, () => outlet.focus(), { kind: "skip" });
  document.getElementById("page").append(skip, header, announcements, outlet);
  drawHeader();
  try {
    if (!routeOf(address().path)?.route.path.startsWith(SET_PASSWORD)) await resume();
    await start(outlet, views, shown);
  } catch (error) {
    fill(outlet, views.failed(error, () => location.reload()));
  }
}

open();
