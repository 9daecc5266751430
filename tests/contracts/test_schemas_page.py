"""The reference page of the schemas is the one that the schemas make."""

from ops import schema_files, schemas_page


def test_the_page_is_what_the_committed_schemas_say() -> None:
    """After a change of schemas: `python -m ops.schemas_page` writes it anew."""
    assert schemas_page.PAGE.read_text() == schemas_page.page()


def test_every_record_and_field_is_on_it() -> None:
    text = schemas_page.page()
    for record, versions in schema_files.committed().items():
        section = text.partition(f"### {record}\n")[2].partition("\n### ")[0]
        for field in versions[-1].schema["fields"]:
            assert f"\n| `{field['name']}` | " in section, f"{record}.{field['name']}"


def test_headings_are_unique_so_that_links_lead_to_them() -> None:
    heads = [line for line in schemas_page.page().splitlines() if line.startswith("#")]
    assert len(set(heads)) == len(heads)
