defmodule Mapp.V2 do
  # The state of Mapp.Server since 1.1.0: {:v2, count, bumps_since_upgrade}; here it is never ready.
  def show({:v2, n, _}), do: "v2 #{n}"

  def migrate({:v1, n}), do: {:v2, n, 0}

  def ready, do: false
end
