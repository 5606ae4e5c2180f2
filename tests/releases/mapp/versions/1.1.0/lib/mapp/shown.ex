defprotocol Mapp.Shown do
  # Consolidated in each release: the version before had another set of implementations.
  @fallback_to_any true
  def shown(value)
end

defimpl Mapp.Shown, for: Any do
  def shown(_), do: "anything"
end

defimpl Mapp.Shown, for: Integer do
  def shown(_), do: "an integer"
end

defimpl Mapp.Shown, for: BitString do
  def shown(_), do: "a text"
end
