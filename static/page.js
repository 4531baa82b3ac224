// Connects the forms and buttons of the page to the API.

import { signIn, signOut, whenExpired } from "./api.js";
import { closeEvidence, replayDecision, showDecisions } from "./decisions.js";
import { byId, element, fill, showStatus } from "./elements.js";
import { showPlugins, upload } from "./plugins.js";
import { showRuleset } from "./ruleset.js";

const clearedOnSignOut = ["ruleset", "decisions", "evidence", "plugins", "uploaded"];

// Disables the button while it works, and shows an error.
async function run(button, work) {
  if (button) button.disabled = true;
  try {
    showStatus("");
    await work();
  } catch (error) {
    showStatus(error.message, true);
  } finally {
    if (button) button.disabled = false;
  }
}

// The token may lack the scope of one part. The other parts are still shown.
async function showPart(id, show) {
  try {
    await show();
  } catch (error) {
    fill(byId(id), element("p", { class: "quiet" }, error.message));
  }
}

function showContent({ expiresAt }) {
  byId("sign-in").hidden = true;
  byId("workplace").hidden = false;
  byId("sign-out").hidden = false;
  byId("session").textContent = `Signed in until ${new Date(expiresAt).toLocaleTimeString()}`;
  byId("content").focus();
  return Promise.all([
    showPart("ruleset", showRuleset),
    showPart("decisions", showDecisions),
    showPart("plugins", showPlugins),
  ]);
}

function showSignIn(message) {
  signOut();
  for (const id of clearedOnSignOut) fill(byId(id));
  byId("evidence-section").hidden = true;
  byId("workplace").hidden = true;
  byId("sign-out").hidden = true;
  byId("sign-in").hidden = false;
  byId("session").textContent = "Not signed in";
  byId("client-id").focus();
  showStatus(message);
}

whenExpired(() => showSignIn("Your session has ended. Sign in again."));

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const secret = byId("client-secret");
  run(event.submitter, async () => {
    const session = await signIn(byId("client-id").value.trim(), secret.value);
    secret.value = "";
    await showContent(session);
  });
});

byId("upload-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [file] = byId("plugin-file").files;
  fill(byId("uploaded"), element("p", {}, "Uploading…"));
  run(event.submitter, async () => {
    try {
      await upload(file);
    } catch (error) {
      fill(byId("uploaded"));
      throw error;
    }
    await showPlugins();
  });
});

const onClick = (id, work) => byId(id).addEventListener("click", (event) => run(event.currentTarget, work));
onClick("ruleset-refresh", showRuleset);
onClick("decisions-refresh", () => showDecisions());
onClick("decisions-more", () => showDecisions(true));
onClick("plugins-refresh", showPlugins);
onClick("replay", replayDecision);
byId("evidence-close").addEventListener("click", closeEvidence);
byId("outcome").addEventListener("change", () => run(null, () => showDecisions()));
byId("sign-out").addEventListener("click", () => showSignIn("You are signed out."));
