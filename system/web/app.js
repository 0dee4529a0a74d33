// The regions and their totals. The page keeps what it showed last when the API cannot be reached, and says
// so: an old figure with its time is worth more than an empty table.
//
// The API wants a bearer token. It comes in the address's fragment, which no server ever sees, or is pasted in;
// it lives in this tab alone.

const FETCH_WITHIN_MS = 5000;
const REFRESH_EVERY_MS = 15000;

const table = document.querySelector("#regions");
const statusLine = document.querySelector("#status");
const retry = document.querySelector("#retry");
const signIn = document.querySelector("#sign-in");
const tokenField = document.querySelector("#token");
const whole = new Intl.NumberFormat("en");

let shownAt = null;

class SignedOut extends Error {}

function takeTokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname + location.search);
}

function askForToken(reason) {
  sessionStorage.removeItem("token");
  signIn.hidden = false;
  retry.hidden = true;
  statusLine.textContent = reason;
  statusLine.className = "";
}

// An amount has at most two digits after the point, so the nearest integer number of cents is exact; adding
// and printing are done in those, never in binary fractions.
const cents = (amount) => BigInt(Math.round(amount * 100));

const money = (amountInCents) =>
  `${whole.format(amountInCents / 100n)}.${String(amountInCents % 100n).padStart(2, "0")}`;

const sum = (values, zero) => values.reduce((total, value) => total + value, zero);

const clock = (date) => date.toLocaleTimeString("en-GB");

function row(heading, aws, figures) {
  const tr = document.createElement("tr");
  const th = document.createElement("th");
  th.scope = "row";
  th.textContent = heading;
  tr.append(th);
  for (const [text, kind] of [[aws, "place"], ...figures.map((figure) => [figure, "number"])]) {
    const td = document.createElement("td");
    td.className = kind;
    td.textContent = text;
    tr.append(td);
  }
  return tr;
}

const figures = (countries, pledged, projects, funding) =>
  [whole.format(countries), money(pledged), whole.format(projects), money(funding)];

function show(items) {
  const parts = items.map((item) => ({
    ...item,
    pledged: cents(item.contribution_usd_millions),
    funding: cents(item.funding_usd_millions),
  }));
  const total = figures(
    sum(parts.map((part) => part.countries), 0),
    sum(parts.map((part) => part.pledged), 0n),
    sum(parts.map((part) => part.projects), 0),
    sum(parts.map((part) => part.funding), 0n),
  );
  table.tBodies[0].replaceChildren(...parts.map((part) =>
    row(part.city, part.aws_region, figures(part.countries, part.pledged, part.projects, part.funding))));
  table.tFoot.replaceChildren(row("All regions", "", total));
}

async function fetchRegions() {
  const token = sessionStorage.getItem("token");
  if (!token) throw new SignedOut("Sign in to see the totals.");
  const response = await fetch("/api/v1/regions", {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(FETCH_WITHIN_MS),
  });
  if (response.status === 401) throw new SignedOut("Your token is not valid any more: sign in again.");
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `the API answered ${response.status}`);
  }
  const { items } = await response.json();
  return { items, region: response.headers.get("covenant-region") ?? "an unnamed region" };
}

function reasonOf(error) {
  if (error.name === "TimeoutError") return `no answer within ${FETCH_WITHIN_MS / 1000} seconds`;
  return error instanceof TypeError ? "the API cannot be reached" : error.message;
}

async function refresh() {
  table.setAttribute("aria-busy", "true");
  try {
    const { items, region } = await fetchRegions();
    show(items);
    shownAt = new Date();
    statusLine.textContent = `Updated ${clock(shownAt)} from ${region}`;
    statusLine.className = "";
    retry.hidden = true;
    signIn.hidden = true;
  } catch (error) {
    if (error instanceof SignedOut) {
      askForToken(error.message);
      return;
    }
    const kept = shownAt ? `; these are the totals of ${clock(shownAt)}` : "";
    statusLine.textContent = `The totals could not be loaded: ${reasonOf(error)}${kept}.`;
    statusLine.className = "error";
    retry.hidden = false;
  } finally {
    table.setAttribute("aria-busy", "false");
  }
}

signIn.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", tokenField.value.trim());
  tokenField.value = "";
  refresh();
});
retry.addEventListener("click", refresh);
addEventListener("hashchange", () => {
  takeTokenFromAddress();
  refresh();
});
setInterval(() => document.hidden || !signIn.hidden || refresh(), REFRESH_EVERY_MS);
takeTokenFromAddress();
refresh();
