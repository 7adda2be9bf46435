// Verifies Sigstore bundles with npm's @sigstore/verify: node verify.cjs KEY.pem HINT BUNDLE...
// Prints a line a bundle: the type of its payload and its SHA-256, or the code of the refusal.
const { createPublicKey, createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const installed = createRequire(process.env.NODE_FOLDER + "/");
const { bundleFromJSON } = installed("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = installed("@sigstore/verify");

const [key, hint, ...bundles] = process.argv.slice(2);
const nothing = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const der = createPublicKey(readFileSync(key)).export({ type: "spki", format: "der" });
const keys = { [hint]: { rawBytes: der, keyDetails: "PKIX_ED25519", validFor: undefined } };
const none = { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 };
const verifier = new Verifier(toTrustMaterial(nothing, keys), none);

for (const path of bundles) {
  try {
    const bundle = bundleFromJSON(JSON.parse(readFileSync(path, "utf8")));
    verifier.verify(toSignedEntity(bundle));
    const { payload, payloadType } = bundle.content.dsseEnvelope;
    console.log(payloadType, createHash("sha256").update(payload).digest("hex"));
  } catch (error) {
    console.log("refused", error.code ?? error.name);
  }
}
