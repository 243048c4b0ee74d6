// Renews the stages of a badge's way every few seconds until it has arrived. Without this script the page is loaded
// again by hand. Only a change of the stage is read out.
const EVERY = 3000;
// Half an hour: then the page is left open, and nobody looks.
const MOST = 600;
const stages = document.getElementById("stages");
const said = document.getElementById("said");

async function renew(turn) {
  const before = stages.querySelector(".followed");
  if (!before || "done" in before.dataset || turn > MOST) return;
  try {
    if (!document.hidden) {
      const answer = await fetch(before.dataset.stages, { credentials: "same-origin", redirect: "manual" });
      if (answer.status !== 200) {
        said.className = "note warning";
        said.textContent = stages.dataset.lost;
        return;
      }
      show(await answer.text(), before);
    }
  } catch {
    // The portal is away for a moment.
    if (turn === MOST) said.textContent = stages.dataset.lost;
  }
  setTimeout(renew, EVERY, turn + 1);
}

function show(html, before) {
  const focused = stages.contains(document.activeElement);
  const page = new DOMParser().parseFromString(html, "text/html").querySelector(".followed");
  // A link that has the focus would lose it.
  if (!page || focused) return;
  stages.replaceChildren(page);
  if (page.dataset.learner) document.getElementById("who").textContent = page.dataset.learner;
  if (page.dataset.address !== before.dataset.address) history.replaceState(null, "", page.dataset.address);
  if ("done" in page.dataset) document.getElementById("look")?.remove();
  if (page.dataset.summary !== before.dataset.summary) said.textContent = page.dataset.summary;
}

setTimeout(renew, EVERY, 1);
