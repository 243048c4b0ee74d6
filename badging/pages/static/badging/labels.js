// Select2 gives the search field of a multiple choice no label of its own; it takes that of the field here, as soon as
// it exists.
new MutationObserver(() => {
  for (const select of document.querySelectorAll("select.admin-autocomplete[multiple]")) {
    const label = document.querySelector(`label[for="${select.id}"]`);
    const search = select.parentElement.querySelector(".select2-search__field:not([aria-label])");
    if (label && search) search.setAttribute("aria-label", label.textContent.trim());
  }
}).observe(document.documentElement, { childList: true, subtree: true });
