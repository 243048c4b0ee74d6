// A button beside each field with data-copy, which copies what is in it. Without this script the fields can be selected.
for (const field of document.querySelectorAll("[data-copy]")) {
  const label = document.querySelector(`label[for="${field.id}"]`);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button quiet";
  button.textContent = field.dataset.copy;
  if (label) button.setAttribute("aria-label", `${field.dataset.copy}: ${label.textContent.trim()}`);
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  said.className = "quiet";
  button.addEventListener("click", async () => {
    said.textContent = "";
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      // The clipboard is closed to pages without TLS, or by the browser's settings.
      field.focus();
      field.select();
      if (!document.execCommand("copy")) {
        said.textContent = field.dataset.selected;
        return;
      }
    }
    said.textContent = field.dataset.copied;
  });
  field.after(button, said);
}
