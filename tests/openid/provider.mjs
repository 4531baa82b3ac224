// A real provider of OpenID Connect for the tests: node provider.mjs FOLDER PORT REDIRECT_ADDRESS ACCOUNTS.
// FOLDER has the package oidc-provider. ACCOUNTS is a JSON file, read at each use, that gives the claims of
// each login. Any password is right.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, port, redirect, accounts] = process.argv.slice(2);
const library = join(resolve(folder), "node_modules/oidc-provider/lib/index.js");
const { Provider } = await import(pathToFileURL(library));
const issuer = `http://127.0.0.1:${port}`;

const client = { redirect_uris: [redirect], response_types: ["code"], grant_types: ["authorization_code"] };
const provider = new Provider(issuer, {
  clients: [
    { ...client, client_id: "tollgate", client_secret: "a secret of the tests" },
    { ...client, client_id: "public", token_endpoint_auth_method: "none" },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
  scopes: ["openid", "email", "profile", "groups"],
  cookies: { keys: ["only for tests"] },
  pkce: { required: () => true },
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  findAccount: (_, login) => {
    const claims = JSON.parse(readFileSync(accounts, "utf8"))[login];
    return claims && { accountId: login, claims: () => ({ sub: login, ...claims }) };
  },
  // Nobody is asked for consent.
  loadExistingGrant: async ({ oidc }) => {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid email profile groups");
    await grant.save();
    return grant;
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log(`listening at ${issuer}`));
