// Brings the learners of a course up to date without a reload, for as long as somebody is likely to watch. Without
// this script the page is the same; it is then reloaded by hand.
const news = document.getElementById("course-news");
const status = document.getElementById("course-news-status");
const SOON = 5_000;
const LATER = 15_000;
const SOON_UNTIL = Date.now() + 120_000;
const UNTIL = Date.now() + 600_000;

// What is listed, without the parts that change each time, such as the tokens of forms.
function listed(part) {
  const copy = part.cloneNode(true);
  for (const quiet of copy.querySelectorAll("[data-quiet]")) quiet.remove();
  return copy.innerHTML;
}

function isTypedInto() {
  return news.contains(document.activeElement) && document.activeElement.matches("input, select");
}

function show(fresh) {
  const changed = listed(news) !== listed(fresh);
  if (!changed) {
    // Only when Moodle is read is told anew, and quietly.
    const [before, now] = [news, fresh].map((part) => part.querySelector(".reading"));
    if (before && now && before.textContent !== now.textContent && !before.contains(document.activeElement)) {
      before.replaceWith(now);
    }
    return;
  }
  if (isTypedInto()) return;
  for (const field of news.querySelectorAll("input[type=search], select")) {
    const same = fresh.querySelector(`[name="${field.name}"]`);
    if (same) same.value = field.value;
  }
  const focused = news.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  news.replaceChildren(...fresh.childNodes);
  if (focused) [...news.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  status.textContent = "";
  // A change that comes together with its place is not read out.
  setTimeout(() => { status.textContent = status.dataset.changed; }, 100);
}

async function look() {
  if (Date.now() > UNTIL) return;
  if (!document.hidden) {
    try {
      const answer = await fetch(news.dataset.news + location.search, { redirect: "error" });
      // Signed out, or the course is somebody else's now: whoever reloads the page is told.
      if (answer.status >= 400 && answer.status < 500) return;
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html").body);
    } catch {
      // No answer, such as without a network: asked again below.
    }
  }
  setTimeout(look, Date.now() < SOON_UNTIL ? SOON : LATER);
}

if (news) setTimeout(look, SOON);
