// Reads one token that `echotune schema migrate` has encrypted. See docs/tokens.md.
//
//   ECHOTUNE_TOKEN_KEY=… node read-token.mjs USER_ID FIELD TOKEN
//
// USER_ID is the user's `userId`, an ObjectId as its 24 hexadecimal digits; FIELD is accessToken or refreshToken.
import { createDecipheriv } from "node:crypto";
import { pathToFileURL } from "node:url";

const KEY_BYTES = 32;
const TAG_BYTES = 16;

export function readKey(text) {
  const key = Buffer.from(text ?? "", "base64");
  if (key.length !== KEY_BYTES) throw new Error("ECHOTUNE_TOKEN_KEY is not 32 bytes in base64");
  return key;
}

export function decryptToken(key, userId, field, token) {
  const parts = /^v1\.aes256gcm\.([\w-]{16})\.([\w-]{22,})$/.exec(token);
  if (parts === null) throw new Error("this is not a token in the form v1.aes256gcm.NONCE.DATA");
  const [nonce, data] = parts.slice(1).map((part) => Buffer.from(part, "base64url"));
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(`${userId}\0${field}`, "utf8"));
  decipher.setAuthTag(data.subarray(-TAG_BYTES));
  try {
    return decipher.update(data.subarray(0, -TAG_BYTES), undefined, "utf8") + decipher.final("utf8");
  } catch {
    throw new Error("the token can't be decrypted: damaged, another user's or field's, or under another key");
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [userId, field, token, ...more] = process.argv.slice(2);
  try {
    if (token === undefined || more.length) throw new Error("usage: node read-token.mjs USER_ID FIELD TOKEN");
    console.log(decryptToken(readKey(process.env.ECHOTUNE_TOKEN_KEY), userId, field, token));
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  }
}
