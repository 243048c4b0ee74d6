// Keeps a part of the page up to date: an element with an id and data-refresh="seconds" is replaced by the same element
// of the page as it is now, until it has no seconds any more, and for half an hour at most: then nobody looks. It does
// not keep the session alive. Without this script a reload does the same.
(() => {
  "use strict";

  const UNTIL = Date.now() + 30 * 60_000;

  const again = (element) => {
    const seconds = Number(element.dataset.refresh);
    if (seconds > 0 && Date.now() < UNTIL) setTimeout(() => renew(element), seconds * 1000);
  };

  const renew = async (element) => {
    // Whoever is about to press a button in it keeps it, and a page that nobody looks at asks nothing.
    if (document.hidden || element.contains(document.activeElement)) return again(element);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Portal-By-Itself": "1" } });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const current = page.getElementById(element.id);
      if (!current) return;
      element.replaceWith(current);
      again(current);
    } catch {
      // The portal cannot be reached just now.
      again(element);
    }
  };

  for (const element of document.querySelectorAll("[data-refresh]")) again(element);
})();
