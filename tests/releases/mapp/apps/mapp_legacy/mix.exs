defmodule MappLegacy.MixProject do
  use Mix.Project
  def project, do: [app: :mapp_legacy, version: "1.0.0", elixir: "~> 1.14"]
  def application, do: [mod: {MappLegacy, []}]
end
